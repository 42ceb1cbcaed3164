"""The dataset on disk: its files, metadata and checks; conversion of matches to segments, and their sampling."""
