package capture

import "strings"

// Listing is a table as the database's catalog has it, for who writes a mapping.
type Listing struct {
	// Table has its columns where its changes can be had. Its FullSQL is what a setup would run by
	// itself.
	Table *Table
	// Left is why its changes cannot be had as it is, in words that follow its name; empty where
	// they can. Remedy is what would cure that, where something does.
	Left, Remedy string
	// Denied says that our account may not read it. Remedy then grants it, where nothing else is amiss.
	Denied bool
	// Facts are those of Table.Columns, in their order.
	Facts []ColumnFacts
	// Warnings are what a check says of the table whatever the mapping is.
	Warnings []string
}

// ColumnFacts are what the catalog says of a column and the stream does not.
type ColumnFacts struct {
	Nullable bool
	// Labels are the only values that a CHECK constraint allows; nil where none says so. Those of
	// an enum are its type's.
	Labels []string
}

// Why tables are left out, whatever the database is.
const (
	Unnameable = "has a name that no mapping can say: a schema with a dot, or one of * ? ["
	Keyless    = "has no key by which its rows could be told apart"
)

// Nameable reports whether a mapping can name a table alone: "schema.table" is split at its first
// dot, and wildcards are patterns.
func Nameable(schema, table string) bool {
	return schema != "" && table != "" && !strings.Contains(schema, ".") && !strings.ContainsAny(schema+table, "*?[")
}

// CheckedLabels reads the values that a CHECK constraint allows in a column out of its SQL, as
// PostgreSQL, MySQL and MariaDB write it: CHECK ((status = ANY (ARRAY['OPEN'::text, …]))), or
// (`status` in (_utf8mb4'OPEN',…)). The column is written as the server quotes it. It returns nil
// for a constraint that says anything else.
func CheckedLabels(sql, column string) []string {
	tokens, ok := checkTokens(sql)
	if !ok || len(tokens) < 3 {
		return nil
	}
	var labels []string
	add := func(token string) bool {
		label, ok := strings.CutPrefix(token, "'")
		labels = append(labels, label)
		return ok
	}
	if tokens[0] != column {
		return nil
	}
	switch rest := tokens[1:]; {
	case strings.EqualFold(rest[0], "in"):
		rest = rest[1:]
		for i, token := range rest {
			if i%2 == 0 && !add(token) || i%2 == 1 && token != "," {
				return nil
			}
		}
		if len(rest)%2 == 0 {
			return nil
		}
	case len(rest) > 3 && rest[0] == "=" && rest[1] == "ANY" && rest[2] == "ARRAY":
		rest = rest[3:]
		if len(rest) < 3 || rest[0] != "[" || rest[len(rest)-1] != "]" {
			return nil
		}
		for i, token := range rest[1 : len(rest)-1] {
			if i%2 == 0 && !add(token) || i%2 == 1 && token != "," {
				return nil
			}
		}
		if len(rest)%2 == 0 {
			return nil
		}
	default: // a = 'x' OR a = 'y'
		for i, token := range tokens {
			switch i % 4 {
			case 0:
				ok = token == column
			case 1:
				ok = token == "="
			case 2:
				ok = add(token)
			default:
				ok = strings.EqualFold(token, "or")
			}
			if !ok {
				return nil
			}
		}
		if len(tokens)%4 != 3 {
			return nil
		}
	}
	return labels
}

// checkTokens takes a constraint's SQL apart: names as they are quoted, literals with a quote before
// them, words, commas, brackets. What does not count is left out: the word CHECK, parentheses,
// casts, charsets and collations. ok is false where something is not understood.
func checkTokens(sql string) (tokens []string, ok bool) {
	rest := strings.TrimSpace(sql)
	if len(rest) >= 5 && strings.EqualFold(rest[:5], "check") {
		rest = rest[5:]
	}
	for rest != "" {
		switch c := rest[0]; {
		case c == ' ' || c == '\n' || c == '\t' || c == '(' || c == ')':
			rest = rest[1:]
		case c == '\'':
			literal, after, ok := quoted(rest)
			if !ok || strings.Contains(literal, `\`) { // which servers take for different things
				return nil, false
			}
			tokens, rest = append(tokens, "'"+literal), after
		case c == '"' || c == '`':
			_, after, ok := quoted(rest)
			if !ok {
				return nil, false
			}
			tokens, rest = append(tokens, rest[:len(rest)-len(after)]), after
		case strings.HasPrefix(rest, "::"):
			var ok bool
			if rest, ok = afterCast(rest[2:]); !ok {
				return nil, false
			}
		case c == ',' || c == '=' || c == '[' || c == ']':
			tokens, rest = append(tokens, rest[:1]), rest[1:]
		case wordByte(c):
			end := 1
			for end < len(rest) && wordByte(rest[end]) {
				end++
			}
			word := rest[:end]
			rest = rest[end:]
			if c == '_' && strings.HasPrefix(rest, "'") { // the literal's charset
				continue
			}
			tokens = append(tokens, word)
		default:
			return nil, false
		}
	}
	return tokens, true
}

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// quoted reads what begins with a quote and ends with it; doubled, it stands for itself.
func quoted(text string) (content, after string, ok bool) {
	mark := text[0]
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] != mark {
			b.WriteByte(text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == mark {
			b.WriteByte(mark)
			i++
			continue
		}
		return b.String(), text[i+1:], true
	}
	return "", "", false
}

// afterCast skips the name of a type: words, quoted names with dots, a length, brackets of arrays.
func afterCast(rest string) (after string, ok bool) {
	for rest != "" {
		switch c := rest[0]; {
		case c == '"':
			if _, rest, ok = quoted(rest); !ok {
				return "", false
			}
		case wordByte(c) || c == '.':
			rest = rest[1:]
		case c == ' ' && len(rest) > 1 && 'a' <= rest[1] && rest[1] <= 'z': // character varying; operators are written in capitals
			rest = rest[1:]
		case c == '(':
			end := strings.IndexByte(rest, ')')
			if end < 0 || strings.Trim(rest[1:end], "0123456789,") != "" {
				return "", false
			}
			rest = rest[end+1:]
		case strings.HasPrefix(rest, "[]"):
			rest = rest[2:]
		default:
			return rest, true
		}
	}
	return "", true
}
