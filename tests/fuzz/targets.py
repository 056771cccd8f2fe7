"""Every reader of the package."""

import records
import stores
import texts

TARGETS = {target.name: target for module in (texts, stores, records) for target in module.TARGETS}
