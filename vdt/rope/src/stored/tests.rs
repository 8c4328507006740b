//! What only the inside can try: raw frames that no encoder would write.
