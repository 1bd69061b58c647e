//! Reaches hosts over russh. No type of russh leaves this folder.
