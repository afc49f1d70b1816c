"""What attributes of users are worth where no event is known."""
