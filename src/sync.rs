//! What a replica says to its peers.
