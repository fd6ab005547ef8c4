"""What several test folders share: a clock, events and plugins made in the test itself."""
