"""The database that all tables of the hub lie in: engine, transactions, upgrades."""
