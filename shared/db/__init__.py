"""PostgreSQL through SQLAlchemy 2 and asyncpg. Each service owns the schema that has its name."""
