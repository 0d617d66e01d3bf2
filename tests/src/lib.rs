//! The proof: model, damage, kill and refusal tests over the whole engine.
