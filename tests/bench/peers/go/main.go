// franz-go, hamba/avro into a struct by the writer's schema, mattn/go-sqlite3.
// Tuned: at most 1000 records a transaction, fetch wait 10 ms, prepared statements, one connection.
package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/hamba/avro/v2"
	_ "github.com/mattn/go-sqlite3"
	"github.com/twmb/franz-go/pkg/kgo"
)

type request struct {
	EventID    string    `avro:"event_id"`
	ReturnID   string    `avro:"return_id"`
	OccurredAt time.Time `avro:"occurred_at"`
	OrderID    string    `avro:"order_id"`
	Model      string    `avro:"model"`
	ShipmentID string    `avro:"shipment_id"`
	Serial     string    `avro:"serial_number"`
	Location   string    `avro:"location"`
	Cost       struct {
		Amount   *big.Rat `avro:"amount"`
		Currency string   `avro:"currency"`
	} `avro:"cost"`
	Reason  string `avro:"reason_code"`
	Channel string `avro:"channel"`
}

var (
	schemas = map[uint32]avro.Schema{}
	topic   = os.Getenv("TOPIC")
	id      int64
	head    = make([]byte, 32)
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func schemaOf(number uint32) avro.Schema {
	if s, ok := schemas[number]; ok {
		return s
	}
	answer, err := http.Get(fmt.Sprintf("%s/schemas/ids/%d", os.Getenv("REGISTRY"), number))
	check(err)
	defer answer.Body.Close()
	var body struct{ Schema string }
	check(json.NewDecoder(answer.Body).Decode(&body))
	schemas[number] = avro.MustParse(body.Schema)
	return schemas[number]
}

func store(db *sql.DB, insert, move *sql.Stmt, records []*kgo.Record) {
	tx, err := db.Begin()
	check(err)
	add, next := tx.Stmt(insert), map[int32]int64{}
	for _, r := range records {
		s := schemaOf(binary.BigEndian.Uint32(r.Value[1:]))
		var e request
		check(avro.Unmarshal(s, r.Value[5:], &e))
		text := e.OrderID + " " + e.ShipmentID + " " + e.Model + " " + e.Serial + " " + e.Location + " " + e.Cost.Amount.FloatString(2) + " " +
			e.Cost.Currency + " " + e.Reason + " " + e.Channel
		name, at := s.(avro.NamedSchema).FullName(), e.OccurredAt.UnixMilli()
		id++
		h := sha256.New()
		h.Write(head)
		h.Write([]byte(strconv.FormatInt(id, 10) + "\n" + e.ReturnID + "\n" + e.EventID + "\n" + name + "\n" + topic + "\n" +
			strconv.Itoa(int(r.Partition)) + "\n" + strconv.FormatInt(r.Offset, 10) + "\n" + strconv.FormatInt(at, 10) + "\n" + text))
		head = h.Sum(nil)
		_, err := add.Exec(id, e.ReturnID, e.EventID, name, topic, r.Partition, r.Offset, at, text, head)
		check(err)
		next[r.Partition] = r.Offset + 1
	}
	for partition, offset := range next {
		_, err := tx.Stmt(move).Exec(topic, partition, offset)
		check(err)
	}
	check(tx.Commit())
}

func main() {
	db, err := sql.Open("sqlite3", os.Getenv("DB"))
	check(err)
	db.SetMaxOpenConns(1)
	tables, err := os.ReadFile(os.Getenv("TABLES"))
	check(err)
	_, err = db.Exec(string(tables))
	check(err)
	_ = db.QueryRow("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1").Scan(&id, &head)
	insert, err := db.Prepare("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
	check(err)
	move, err := db.Prepare("INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next")
	check(err)
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Getenv("BROKERS")), kgo.ConsumerGroup(os.Getenv("GROUP")), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.FetchMaxWait(10*time.Millisecond),
		kgo.AdjustFetchOffsetsFn(func(_ context.Context, m map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			for p := range m[topic] {
				var next int64
				if db.QueryRow("SELECT next FROM offsets WHERE topic = ? AND partition = ?", topic, p).Scan(&next) == nil {
					m[topic][p] = kgo.NewOffset().At(next)
				}
			}
			return m, nil
		}))
	check(err)
	for {
		taken := client.PollRecords(context.Background(), 1000)
		for _, e := range taken.Errors() {
			log.Fatal(e.Err)
		}
		if records := taken.Records(); len(records) > 0 {
			store(db, insert, move, records)
		}
	}
}
