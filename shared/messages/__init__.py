"""The messages between the services, one module per family.

Their JSON Schemas are generated into shared/schemas.
"""
