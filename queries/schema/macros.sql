-- title: this server's macros, which may stand in a cluster's name
SELECT macro, substitution
FROM system.macros
