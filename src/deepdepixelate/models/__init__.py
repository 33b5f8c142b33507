"""The networks of SRGAN (Ledig et al., arXiv 1609.04802). Knows neither Kedro nor MLflow."""
