"""What several folders of tests share: stores to talk to, fixtures, and doubles with a contract."""
