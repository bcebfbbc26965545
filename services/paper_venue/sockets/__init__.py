"""The market, user and activity sockets: who is connected, what they subscribed to, and what they are sent."""
