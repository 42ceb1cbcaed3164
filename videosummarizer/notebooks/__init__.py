"""What the notebooks use: views of datasets, networks and results, and copying to and from Google Drive."""
