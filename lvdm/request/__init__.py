"""What is asked for: the declaration of every parameter, the layers its value comes from, and the request they make."""
