"""`dlibos demo`: a mesh is brought up, used as a client would use it, measured for a moment, and taken down."""
