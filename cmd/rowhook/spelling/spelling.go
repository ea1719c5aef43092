// Package spelling proposes the word that a person most likely meant. What is written in a config,
// behind a flag or as a command's name is compared with what may stand there.
//
// It is pure. What may stand there is for those who ask.
package spelling

import "strings"

// Nearest returns the candidate that a person most likely meant by word, or nothing
// when none is near: a third of the word's letters may differ, and one in a short word.
func Nearest(word string, candidates []string) string {
	best, bestDistance := "", len([]rune(word))/3+2
	if len([]rune(word)) < 4 {
		bestDistance = 2
	}
	for _, candidate := range candidates {
		if distance := editDistance(strings.ToLower(word), strings.ToLower(candidate)); distance < bestDistance {
			best, bestDistance = candidate, distance
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours
// between two words (optimal string alignment).
func editDistance(a, b string) int {
	from, to := []rune(a), []rune(b)
	if len(from) > 100 || len(to) > 100 {
		return 100
	}
	rows := make([][]int, len(from)+1)
	for i := range rows {
		rows[i] = make([]int, len(to)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(from); i++ {
		for j := 1; j <= len(to); j++ {
			replace := rows[i-1][j-1]
			if from[i-1] != to[j-1] {
				replace++
			}
			rows[i][j] = min(replace, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && from[i-1] == to[j-2] && from[i-2] == to[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(from)][len(to)]
}

// DidYouMean is the question to add to an error about a word, or nothing when no candidate is near.
func DidYouMean(word string, candidates []string) string {
	return Ask(Nearest(word, candidates))
}

// Ask asks whether a word was meant; nothing for no word.
func Ask(word string) string {
	if word == "" {
		return ""
	}
	return `; did you mean "` + word + `"?`
}
