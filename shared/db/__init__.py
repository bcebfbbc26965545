"""What must survive: PostgreSQL by SQLAlchemy 2 and asyncpg. Each service owns the tables of the
schema that bears its name.
"""
