"""One Kedro pipeline a stage: thin nodes over the library."""
