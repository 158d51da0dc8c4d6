"""Where things live: the database, the lake of Delta tables, bundles, and the servers' journals."""
