package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"rowhook/capture"
)

// List returns the tables, views and all that look like tables which the patterns name
// ("database.table", with * in either part), as far as our account may see them, with what a mapping
// would want to know of them.
func (s *Source) List(ctx context.Context, patterns []string) ([]capture.Listing, error) {
	_, db, err := s.reach(ctx)
	if err != nil {
		return nil, err
	}
	var exact []string
	var list []capture.Listing
	for _, pattern := range patterns {
		found, err := findTables(ctx, db, pattern)
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", pattern, err)
		}
		for _, f := range found {
			switch why := f.streamed(); {
			case !capture.Nameable(f.table.Schema, f.table.Name):
				list = append(list, capture.Listing{Table: f.table, Left: capture.Unnameable})
			case why != "":
				list = append(list, capture.Listing{Table: f.table, Left: why})
			default:
				exact = append(exact, f.table.String())
			}
		}
	}
	in, err := inspect(ctx, db, exact)
	if err != nil {
		return nil, err
	}
	warnings := map[string][]string{}
	for _, f := range in.tableFindings() {
		if f.Severity >= capture.Warning && f.Table != "" {
			warnings[f.Table] = append(warnings[f.Table], f.Text)
		}
	}
	account := s.currentAccount(ctx, db)
	for _, f := range in.tables {
		l, err := listing(ctx, db, f)
		if err != nil {
			return nil, fmt.Errorf("describe %s: %w", f.table, err)
		}
		if l.Denied && l.Left == "" {
			l.Remedy = fmt.Sprintf("GRANT SELECT ON %s TO %s;", f.sql(), account)
		}
		l.Warnings = warnings[f.table.String()]
		list = append(list, l)
	}
	return list, nil
}

// listing says of one table whether it can be had, and what its columns are.
func listing(ctx context.Context, db *sql.DB, f *tableFacts) (capture.Listing, error) {
	l := capture.Listing{Table: f.table}
	switch {
	case f.numbered:
		l.Left, l.Remedy = "is versioned by numbers of transactions, which the server logs as statements", "give the columns of its PERIOD FOR SYSTEM_TIME the type TIMESTAMP(6)"
	case len(f.table.Key) == 0:
		l.Left, l.Remedy = capture.Keyless, "ALTER TABLE "+f.sql()+" ADD PRIMARY KEY (…); -- with the columns that identify a row"
	}
	nullable, err := texts(ctx, db, `SELECT column_name FROM information_schema.columns WHERE table_schema = ? AND table_name = ? AND is_nullable = 'YES'`,
		f.table.Schema, f.table.Name)
	if err != nil {
		return l, err
	}
	facts := map[string]capture.ColumnFacts{}
	for _, name := range nullable {
		facts[name] = capture.ColumnFacts{Nullable: true}
	}
	definition := f.definition
	if definition == "" {
		if definition, err = readDefinition(ctx, db, f.table.Schema, f.table.Name); err != nil {
			return l, err
		}
	}
	checks := checksOf(definition)
	for _, column := range f.table.Columns {
		fact := facts[column.Name]
		for _, check := range checks {
			if labels := capture.CheckedLabels(check, quoteIdent(column.Name)); labels != nil {
				fact.Labels = labels
			}
		}
		l.Facts = append(l.Facts, fact)
	}
	if _, err := db.ExecContext(ctx, "SELECT 1 FROM "+f.sql()+" LIMIT 0"); err != nil {
		l.Denied = true
	}
	return l, ctx.Err()
}

// checksOf finds the CHECK constraints in a table's definition: what stands in the parentheses.
func checksOf(definition string) []string {
	var checks []string
	for i := 0; i < len(definition); {
		switch rest := definition[i:]; {
		case rest[0] == '\'' || rest[0] == '`' || rest[0] == '"':
			i += quotedLength(rest)
		case strings.HasPrefix(rest, "CHECK ("):
			end := closing(rest[len("CHECK "):])
			if end == 0 {
				return checks
			}
			checks = append(checks, rest[len("CHECK "):len("CHECK ")+end])
			i += len("CHECK ") + end
		default:
			i++
		}
	}
	return checks
}

// closing is the length of what stands in parentheses at the text's start, with them; 0 where they
// are not closed.
func closing(text string) int {
	depth := 0
	for i := 0; i < len(text); {
		switch text[i] {
		case '\'', '`', '"':
			i += quotedLength(text[i:])
			continue
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return 0
}

// quotedLength is the length of what stands in quotes at the text's start, with them. A backslash
// takes the character after it along, but in names. A doubled quote is read as two texts, which
// comes to the same.
func quotedLength(text string) int {
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && text[0] != '`':
			i++
		case text[i] == text[0]:
			return i + 1
		}
	}
	return len(text)
}
