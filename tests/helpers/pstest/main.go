// Google's own fake of Pub/Sub as a server of its own: prints its address, and ends with its standard input. A number on a
// line there puts its clock so many seconds ahead, and is answered.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"cloud.google.com/go/pubsub/v2/pstest"
)

func main() {
	server := pstest.NewServerWithPort(0)
	var ahead atomic.Int64
	// Once: a subscription keeps the clock that it was made with.
	server.SetTimeNowFunc(func() time.Time { return time.Now().Add(time.Duration(ahead.Load()) * time.Second) })
	fmt.Println(server.Addr)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		seconds, err := strconv.Atoi(lines.Text())
		if err != nil {
			panic(err)
		}
		ahead.Store(int64(seconds))
		fmt.Println(seconds)
	}
	server.Close()
}
