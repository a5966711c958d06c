"""What lies on a disk: network files, configs, the config of a run; all of it written whole."""
