"""Operations that forge: each draws its parameters, changes a region, marks it and records what it did."""
