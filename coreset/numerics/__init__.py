"""Arrays in, arrays out: each function can be checked against its formula, and imported alone."""
