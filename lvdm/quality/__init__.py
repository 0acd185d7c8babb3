"""How good one video is by itself: motion, steadiness, likeness to its image, and which of several is best."""
