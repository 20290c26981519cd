"""Operations counted spike by spike, and what they cost."""
