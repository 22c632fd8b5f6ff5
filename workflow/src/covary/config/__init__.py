"""The typed configuration: keys, types, ranges, defaults, units and descriptions.

One module per section. `experiment` puts them together, `reading` turns YAML files into a checked `Config`.
"""
