"""The policies that ship, as data files: read with importlib.resources, never imported from."""
