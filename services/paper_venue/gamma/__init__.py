"""Gamma, the catalogue of markets and events."""
