package mapping

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// minMaskKey is the shortest key in bytes that a mask is worth having with.
const minMaskKey = 16

// readMaskKey reads the key of the entry's masked columns; nil when there are none.
func readMaskKey(c ColumnsConfig, read func(string) ([]byte, error), at path) ([]byte, error) {
	switch {
	case len(c.Mask) == 0 && c.MaskKeyFile == "":
		return nil, nil
	case len(c.Mask) == 0:
		return nil, at.at("mask_key_file").err("there is no column to mask", "list the columns under mask")
	case c.MaskKeyFile == "" || read == nil:
		return nil, at.at("mask").err("masked columns need a key", "give mask_key_file; create one with: head -c 32 /dev/urandom | base64 > mask.key")
	}
	key, err := read(c.MaskKeyFile)
	if err != nil {
		return nil, at.at("mask_key_file").err(fmt.Sprintf("read the mask's key: %v", err), "")
	}
	if key = bytes.TrimSpace(key); len(key) < minMaskKey {
		return nil, at.at("mask_key_file").err(fmt.Sprintf("the mask's key has %d bytes, at least %d are needed", len(key), minMaskKey), "create one with: head -c 32 /dev/urandom | base64 > mask.key")
	}
	return key, nil
}

// mask is the keyed hash that stands for a value: the first half of its HMAC-SHA256
// in hexadecimal. Equal texts give equal masks under one key.
func mask(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return hex.AppendEncode(nil, h.Sum(nil)[:16])
}
