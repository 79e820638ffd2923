"""The networks, one a file. They know no data set, no training and no configuration."""
