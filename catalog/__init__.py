"""What a data set is that someone has: found out, measured and written as an entry of datasets.yaml."""
