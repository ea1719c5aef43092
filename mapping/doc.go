// Package mapping turns row changes into domain events.
package mapping
