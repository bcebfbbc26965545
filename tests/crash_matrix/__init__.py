"""Kills each service at each named boundary and checks that no copy is lost or doubled."""
