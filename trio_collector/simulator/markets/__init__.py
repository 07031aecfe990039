"""What is simulated: markets that move, one side of a book, the exchanges that they belong to."""
