"""Every reader of the package."""

import records
import stores
import tables
import texts

TARGETS = {target.name: target for module in (texts, stores, records, tables) for target in module.TARGETS}
