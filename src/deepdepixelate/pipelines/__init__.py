"""One Kedro pipeline per stage, with thin nodes that call the library."""
