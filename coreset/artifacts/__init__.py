"""Parts, stages, artifacts and executors: what is computed, where it lies, and how it resumes."""
