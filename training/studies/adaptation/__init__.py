"""The adaptation study: what adapting to a user adds to a base that has read the user's prompt, and when nothing."""
