// Package console is the web console of a running agent: pages for people, in English and Japanese.
//
// The console knows the agent by its operations alone ([Agent]), the same that commands ask for
// through the socket. So what a button does is what the command does, with the same line in the
// audit log, in which the token's name stands for the user.
//
// What the package holds to:
//
//   - Every page is whole without JavaScript, and every act is a plain form. A script of our own
//     replaces parts of a page as they change; nothing is loaded from elsewhere.
//   - Nothing is shown without a token of the config, nothing is changed without an admin's. A
//     session is a random id in a cookie that scripts and other sites cannot use; it ends when its
//     token is taken out of the config.
//   - Each form carries its session's token. What is destructive is confirmed on a page that says
//     how many it is about, and which.
//   - What rows, receivers and configs say is shown as text. Characters that steer a terminal or turn
//     the direction of text are shown as what they are.
//   - Row data never stands in a URL: what is searched for stays in the session.
//   - While nobody looks the console does nothing: templates are parsed at the first request, and
//     sessions are looked at when somebody asks. What the plots show is kept in [History], which
//     takes a few kilobytes.
//
// Texts are English in templates and code; words/ja.json has each one's translation, and a test
// holds that none is missing. What the agent says in its own words, findings and errors, stays as
// it is.
package console
