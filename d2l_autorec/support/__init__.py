"""What every floor may use: errors, files, streams of random numbers, the terminal."""
