"""Every reader of the package."""

import formats
import records
import stores
import tables
import texts

TARGETS = {target.name: target for module in (texts, formats, stores, records, tables) for target in module.TARGETS}
