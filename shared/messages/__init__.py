"""The messages between the services: one module per family. JSON Schemas are generated from them
into shared/schemas.
"""
