"""Where the ledger and the key store lie: places, schemas, engines, migrations."""
