package mysql

import (
	"fmt"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"rowhook/capture"
)

// Types of MariaDB's compressed columns.
const (
	typeBlobCompressed    = 140
	typeVarcharCompressed = 141
)

const (
	charsetBinary   = "binary"
	collationBinary = 63
)

// column describes the next column. It is called for each column in order, since the
// lists of the table map are consumed on the way.
func (d *describer) column(i int, name string) (column, *capture.Type, error) {
	t, length := realType(d.types[i], d.metas[i])
	meta := d.metas[i]
	switch t {
	case gomysql.MYSQL_TYPE_TINY, gomysql.MYSQL_TYPE_SHORT, gomysql.MYSQL_TYPE_INT24, gomysql.MYSQL_TYPE_LONG, gomysql.MYSQL_TYPE_LONGLONG:
		return d.integer(t)
	case gomysql.MYSQL_TYPE_FLOAT:
		d.number()
		return column{width: 4, append: appendFloat32}, floatType("float"), nil
	case gomysql.MYSQL_TYPE_DOUBLE:
		d.number()
		return column{width: 8, append: appendFloat64}, floatType("double"), nil
	case gomysql.MYSQL_TYPE_NEWDECIMAL:
		d.number()
		return decimalColumn(int(meta>>8), int(meta&0xff))
	case gomysql.MYSQL_TYPE_BIT:
		bits := int(meta>>8)*8 + int(meta&0xff)
		return column{width: (bits + 7) / 8, whole: bits, append: appendBits}, stringType("bit", capture.Text), nil
	case gomysql.MYSQL_TYPE_ENUM, gomysql.MYSQL_TYPE_SET:
		return d.labelled(t, length)
	case gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_VAR_STRING:
		return d.text(name, "varchar", "varbinary", prefixOf(int(meta)), 0)
	case gomysql.MYSQL_TYPE_STRING:
		return d.sure(i, name)(d.text(name, "char", "binary", prefixOf(length), length))
	case gomysql.MYSQL_TYPE_BLOB:
		return d.sure(i, name)(d.text(name, "text", "blob", int(meta), 0))
	case typeVarcharCompressed:
		return unpacked(d.text(name, "varchar", "varbinary", prefixOf(int(meta)), 0))
	case typeBlobCompressed:
		return unpacked(d.text(name, "text", "blob", int(meta), 0))
	case gomysql.MYSQL_TYPE_GEOMETRY:
		if d.flavour == flavourMariaDB {
			d.texts.pop() // MariaDB counts it among the texts
		}
		return column{prefix: int(meta), append: appendBytes}, geometryType(), nil
	case gomysql.MYSQL_TYPE_JSON:
		return column{prefix: int(meta), append: appendBinaryJSON}, jsonType(), nil
	case gomysql.MYSQL_TYPE_VECTOR:
		return column{prefix: int(meta), append: appendVector}, vectorType(), nil
	}
	return temporalColumn(t, int(meta))
}

// number consumes a numeric column's sign.
func (d *describer) number() (unsigned bool) {
	unsigned = highBit(d.meta[metaSignedness], d.numbers)
	d.numbers++
	return unsigned
}

func (d *describer) integer(t byte) (column, *capture.Type, error) {
	widths := map[byte]struct {
		width int
		name  string
		kind  capture.Kind
	}{
		gomysql.MYSQL_TYPE_TINY:     {1, "tinyint", capture.Integer},
		gomysql.MYSQL_TYPE_SHORT:    {2, "smallint", capture.Integer},
		gomysql.MYSQL_TYPE_INT24:    {3, "mediumint", capture.Integer},
		gomysql.MYSQL_TYPE_LONG:     {4, "int", capture.Integer},
		gomysql.MYSQL_TYPE_LONGLONG: {8, "bigint", capture.Bigint},
	}
	w := widths[t]
	c := column{width: w.width, unsigned: d.number(), append: appendInteger}
	if c.unsigned {
		w.name += " unsigned"
	}
	return c, &capture.Type{Name: w.name, Kind: w.kind, AppendJSON: verbatim(isInteger)}, nil
}

// prefixOf is how many bytes say the length of a string of at most length bytes.
func prefixOf(length int) int {
	if length > 255 {
		return 2
	}
	return 1
}

// text describes a string or binary column. width is that of a padded one.
func (d *describer) text(name, textName, binaryName string, prefix, width int) (column, *capture.Type, error) {
	collation := d.texts.pop()
	c := column{prefix: prefix, append: appendBytes}
	switch d.hinted.types[name] {
	case "uuid":
		c.append = appendUUID
		return c, stringType("uuid", capture.Text), nil
	case "inet6":
		c.append = appendInet6
		return c, stringType("inet6", capture.Other), nil
	case "inet4":
		c.append = appendInet4
		return c, stringType("inet4", capture.Other), nil
	}
	charset := d.charsets.names[collation]
	if collation == collationBinary || charset == charsetBinary {
		if width > 0 {
			c.whole, c.append = width, appendPadded
		}
		return c, bytesType(binaryName), nil
	}
	if d.hinted.types[name] == "json" {
		return c, jsonType(), nil
	}
	decode, known := d.charsets.decoderOf(charset)
	if !known {
		return c, undecodedType(textName, charset), nil
	}
	if decode != nil {
		c.decode, c.append = decode, appendDecoded
	}
	return c, textType(textName), nil
}

// sure flags the values of a column that may have been of another type than it seems: the table was dropped, renamed or
// changed since, so that the catalog no longer tells.
func (d *describer) sure(i int, name string) func(column, *capture.Type, error) (column, *capture.Type, error) {
	return func(c column, t *capture.Type, err error) (column, *capture.Type, error) {
		if err == nil && d.hinted.types != nil && d.hinted.types[name] == "" && d.ambiguousAt(i) {
			t = flaggedType(t)
		}
		return c, t, err
	}
}

// unpacked is a text column whose values lie compressed.
func unpacked(c column, t *capture.Type, err error) (column, *capture.Type, error) {
	c.unpacked, c.append = c.append, appendUnpacked
	return c, t, err
}

// labelled describes an enum or a set.
func (d *describer) labelled(t byte, width int) (column, *capture.Type, error) {
	list, name, kind, f := &d.enumLabels, "enum", capture.Text, appendEnum
	typ := stringType(name, kind)
	if t == gomysql.MYSQL_TYPE_SET {
		list, f, typ = &d.setLabels, appendSet, setType()
	}
	labels := popLabels(list)
	decode, known := d.charsets.decoderOf(d.charsets.names[d.enumSets.pop()])
	if list.fail || len(labels) == 0 || width < 1 || width > 8 {
		return column{}, nil, fmt.Errorf("the table map lacks the labels")
	}
	if known && decode != nil {
		for i, label := range labels {
			if text, ok := decode(nil, label); ok {
				labels[i] = text
			}
		}
	}
	return column{width: width, labels: labels, append: f}, typ, nil
}

func decimalColumn(precision, scale int) (column, *capture.Type, error) {
	if scale > precision {
		return column{}, nil, fmt.Errorf("decimal(%d,%d)", precision, scale)
	}
	c := column{whole: precision - scale, digits: scale, append: appendDecimal}
	c.width = decimalBytes(c.whole) + decimalBytes(c.digits)
	return c, stringType("decimal", capture.Decimal), nil
}

func temporalColumn(t byte, digits int) (column, *capture.Type, error) {
	if digits > 6 {
		return column{}, nil, fmt.Errorf("%d fractional digits", digits)
	}
	fraction := (digits + 1) / 2
	switch t {
	case gomysql.MYSQL_TYPE_YEAR:
		return column{width: 1, append: appendYear}, yearType(), nil
	case gomysql.MYSQL_TYPE_DATE, gomysql.MYSQL_TYPE_NEWDATE:
		return column{width: 3, append: appendDate}, stringType("date", capture.Date), nil
	case gomysql.MYSQL_TYPE_TIME:
		return column{width: 3, append: appendOldTime}, stringType("time", capture.Time), nil
	case gomysql.MYSQL_TYPE_TIME2:
		return column{width: 3 + fraction, digits: digits, append: appendTime}, stringType("time", capture.Time), nil
	case gomysql.MYSQL_TYPE_DATETIME:
		return column{width: 8, append: appendOldDatetime}, datetimeType(), nil
	case gomysql.MYSQL_TYPE_DATETIME2:
		return column{width: 5 + fraction, digits: digits, append: appendDatetime}, datetimeType(), nil
	case gomysql.MYSQL_TYPE_TIMESTAMP:
		return column{width: 4, append: appendOldTimestamp}, timestampType(), nil
	case gomysql.MYSQL_TYPE_TIMESTAMP2:
		return column{width: 4 + fraction, digits: digits, append: appendTimestamp}, timestampType(), nil
	}
	return column{}, nil, fmt.Errorf("type %d is not known", t)
}
