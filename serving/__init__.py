"""The trained model, served: pictures of digits come in by HTTP, what was read is answered and logged."""
