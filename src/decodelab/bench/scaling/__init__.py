"""What more samples buy: selections among stored samples, for every number of them, without generating anything."""
