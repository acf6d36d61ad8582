"""Each worker its own database and Redis, as the migrations left them before every test."""
