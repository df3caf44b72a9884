package engine

import "github.com/holdfast-run/holdfast/scheduler"

// maxIdlePrincipals is how many principals without a request are remembered,
// with what they have used; beyond it they are forgotten.
const maxIdlePrincipals = 4096

// purse keeps the loop's principals by name.
type purse struct {
	accounts map[string]*account
	idle     int // accounts without a live generation
}

// account is one principal with the number of its live generations.
type account struct {
	scheduler.Principal
	live int
}

func newPurse() purse { return purse{accounts: map[string]*account{}} }

// take returns the principal of a generation that begins, and notes its weight.
func (p *purse) take(name string, weight float64) *scheduler.Principal {
	a := p.accounts[name]
	if a == nil {
		a = new(account)
		p.accounts[name] = a
		p.idle++
	}
	if a.live == 0 {
		p.idle--
	}
	a.live++
	a.Weight = weight
	return &a.Principal
}

// give is called when that generation has ended.
func (p *purse) give(name string) {
	a := p.accounts[name]
	a.live--
	if a.live > 0 {
		return
	}
	p.idle++
	if p.idle <= maxIdlePrincipals {
		return
	}
	for name, a := range p.accounts {
		if a.live == 0 {
			delete(p.accounts, name)
		}
	}
	p.idle = 0
}
