"""The manager: which agents there are, who decides about them, and the selection that the simple interface makes."""
