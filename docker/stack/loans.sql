-- A first loan, for updates to be tried on.
insert into catalog.items (item_pid, title) values ('2301', 'The house by the sea');
insert into circulation.members (name, branch) values ('Mina', 'MAIN');
insert into circulation.loans (loan_id, item_pid, member_id, branch, branch_name, due_at)
  values (1000, '2301', 1, 'MAIN', 'Main library', now() + interval '28 days');
